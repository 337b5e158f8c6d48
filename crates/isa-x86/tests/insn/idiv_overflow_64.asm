; -2^127 / -1
; fault = #DE at here
; rdx = 0x8000000000000000
mov rdx, 0x8000000000000000
xor eax, eax
mov rcx, -1
here: idiv rcx
