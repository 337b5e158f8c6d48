; FNSAVE stores the environment and ST(0)..ST(7), and initialises; FRSTOR brings all back.
; mem 0x5000 = 7e 03 ff ff 00 30 ff ff ff 4f ff ff
; mem 0x501c = 00 00 00 00 00 00 00 80 ff 3f 00 00 00 00 00 00 00 00 00 80
; mem 0x5100 = 00 00 00 00 00 00 00 80 ff 3f
; mem 0x5110 = 00 00 00 00 00 00 00 00 00 80
; rax = 0x3800
; rbx = 0x037f0000
; rcx = 0x037e
fninit
mov word [0x6000], 0x37e
fldcw [0x6000]
fldz
fchs
fld1
fnsave [0x5000]
fnstcw [0x6000]
mov ebx, [0x6000]
shl ebx, 16
fnstsw ax
mov bx, ax
frstor [0x5000]
fnstcw [0x6000]
movzx ecx, word [0x6000]
fstp tword [0x5100]
fnstsw ax
fstp tword [0x5110]
