; In real-address mode FNSTENV's pointers are linear addresses, split, with the opcode (SDM 1 figures 8-10 and 8-12).
; bits 16
; mem 0x5000 = 7f 03 00 38 ff 7f 02 7c 84 01 00 51 00 00 00
; mem 0x5020 = 7f 03 ff ff 00 38 ff ff ff 7f ff ff 02 7c ff ff 84 01 00 00 00 51 ff ff 00 00 00 00
; mem 0x5040 = 7f 03 00 38 ff 7f 34 12 04 51 78 56 00 30
fninit
fld dword [si + 0x5100]
fnstenv [0x5000]
o32 fnstenv [0x5020]
o32 fldenv [0x5020]
; an environment that was stored elsewhere
fnstenv [0x5040]
mov word [0x5046], 0x1234
mov word [0x5048], 0x5104
mov word [0x504a], 0x5678
mov word [0x504c], 0x3000
fldenv [0x5040]
fnstenv [0x5040]
