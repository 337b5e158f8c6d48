; FNCLEX takes a pending exception back; the operands of the operation that was not done are there.
; rax = 0x3000
; mem 0x5100 = 00 00 00 00 00 00 00 00 00 00
; mem 0x5110 = 00 00 00 00 00 00 00 80 ff 3f
fninit
mov word [0x5000], 0x37b
fldcw [0x5000]
fld1
fldz
fdivp st1, st0
fnclex
fnstsw ax
fstp tword [0x5100]
fstp tword [0x5110]
