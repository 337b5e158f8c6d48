; bits 32
; The bounds are signed and inclusive.
; fault = #BR at here
; rax = 0x6
mov dword [0x5000], -3
mov dword [0x5004], 5
mov eax, -3
bound eax, [0x5000]
mov eax, 5
bound eax, [0x5000]
inc eax
here: bound eax, [0x5000]
