; LOCK of a register destination, and of a plain MOV, is #UD.
; fault = #UD at here
; rax = 1
mov eax, 1
here: db 0xf0, 0x01, 0xc0
