; bits 16
; ENTER of 32 bits on a 16-bit stack: the frame pointer is all of ESP, in EBP and in the copied level; SP alone moves.
; rbp = 0x1234effc
; rsp = 0x1234eff0
; mem 0xeff8 = fc ef 34 12 44 33 22 11
mov esp, 0x1234f000
mov ebp, 0x11223344
o32 enter 8, 1
