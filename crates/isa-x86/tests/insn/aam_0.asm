; bits 32
; fault = #DE at here
; rax = 0x1234
mov eax, 0x1234
here: db 0xd4, 0
