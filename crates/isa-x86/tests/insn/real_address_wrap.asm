; bits 16
; Addresses of 16 bits wrap at 64 KiB, also where base, index and displacement sum beyond; XLAT too. LEA shows the sum.
; rax = 0x77
; rbx = 0x1111fff0
; rcx = 0x5000
; rdx = 0x99995010
; mem 0x5001 = 88
mov byte [0x5000], 0x77
mov ebx, 0x1111fff0
mov esi, 0x22225000
mov al, [bx+si+0x10]
mov edx, 0x99990000
lea dx, [bx+si+0x20]
lea ecx, [bx+si+0x10]   ; zero-extended
mov ebp, 0x3333ffff
mov byte [bp+si+2], 0x88
mov al, 0x20
mov byte [0x10], 0x77
xlatb
movzx eax, al
