; FNSTENV with 16-bit operands in protected mode: 14 bytes, offsets and selectors, no opcode (SDM 1 figure 8-11).
; bits 32
; mem 0x5000 = 7f 03 00 38 ff 7f 02 00 00 00 00 51 00 00 00
fninit
fld dword [0x5100]
o16 fnstenv [0x5000]
fninit
o16 fldenv [0x5000]
o16 fnstenv [0x5000]
