; bits 32
; An instruction of 15 bytes is executed, a longer one is #GP(0) (SDM 2 2.3.11), where its last bytes are in the next page too.
; fault = #GP(0) at here
; rax = 0x12345678
jmp there
align 4096
times 4096 - 20 db 0x90
there:
times 10 db 0x3e
mov eax, 0x12345678
here: times 11 db 0x3e
mov eax, 1
