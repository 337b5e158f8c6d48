; FXSAVE has the abridged tag word and does not initialise; FXRSTOR of a status with an unmasked exception makes it pending.
; mem 0x5000 = 7b 03 00 30 c0 00
; mem 0x5020 = 00 00 00 00 00 00 00 80 ff 3f 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
; rax = 0xb004
; fault = #MF at waiting
fninit
mov word [0x5800], 0x37b
fldcw [0x5800]
fldz
fld1
fxsave [0x5000]
fxsave [0x5400]
or byte [0x5402], 4
fninit
fxrstor [0x5400]
fnstsw ax
and ax, 0xff7f
waiting: fld1
