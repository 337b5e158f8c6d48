; fault = #DE at here
; rax = 0x1234
; rdx = 0x5
mov eax, 0x1234
mov edx, 5
xor ecx, ecx
here: div cx
