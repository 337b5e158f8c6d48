; An unmasked division by zero leaves both operands; the next waiting instruction raises #MF, those that do not wait go on.
; rax = 0xb084
; mem 0x5100 = 7b 03
; fault = #MF at waiting
fninit
mov word [0x5000], 0x37b
fldcw [0x5000]
fld1
fldz
fdivp st1, st0
fnstsw ax
fnstcw [0x5100]
fnstsw [0x5200]
waiting: fld1
