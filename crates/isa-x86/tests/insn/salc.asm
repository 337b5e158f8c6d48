; bits 32
; rax = 0x11ff
; rbx = 0x1100
; flags = C
mov eax, 0x1122
clc
db 0xd6
mov ebx, eax
stc
db 0xd6
