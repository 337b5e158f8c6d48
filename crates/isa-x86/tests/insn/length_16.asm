; bits 16
; An instruction of 15 bytes is executed, a longer one is #GP(0) (SDM 2 2.3.11).
; fault = #GP(0) at here
; rax = 0x1
times 14 db 0x2e
inc ax
here: times 15 db 0x2e
inc ax
