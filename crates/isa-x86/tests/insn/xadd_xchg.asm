; Of one register XADD leaves the sum; XCHG with itself changes nothing; memory is exchanged; high bytes.
; rax = 0x10
; rbx = 0x1234
; rcx = 0x11
; rdx = 0x3412
; mem 0x5000 = 22
; flags = !C !Z
mov al, 8
xadd al, al
mov bx, 0x1234
xchg rbx, rbx
mov edx, 0x1234
xchg dl, dh
mov edi, 0x5000
mov byte [rdi], 0x11
mov cl, 0x22
xchg [rdi], cl
mov byte [rdi+1], 1
lock xadd [rdi+1], cl
xchg cl, [rdi+1]
dec cl
lock xadd [rdi+2], cl
mov cl, 0x11
