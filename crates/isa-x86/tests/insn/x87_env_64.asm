; FNSTENV in 64-bit mode has the 32-bit protected-mode layout (SDM 1 figure 8-9): FIP, FCS and FOP, FDP, FDS of the load.
; mem 0x5000 = 7f 03 ff ff 00 30 ff ff ff 1f ff ff 04 00 10 00 08 00 04 01 00 51 00 00 10 00 ff ff
; rax = 0x3000
fninit
fld1
fld dword [0x5100]      ; +0
fnstenv [0x5000]
fnclex                  ; a control instruction: the pointers stay
fldenv [0x5000]
fnstenv [0x5000]
fnstsw ax
