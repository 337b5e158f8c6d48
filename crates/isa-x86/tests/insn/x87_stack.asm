; Stack overflow and underflow, masked: IE, SF, and C1 set for the overflow, clear for the underflow; the indefinite in the register.
; rax = 0x3a41
; rbx = 0x41
; mem 0x5000 = 00 00 00 00 00 00 00 c0 ff ff
; mem 0x5010 = 00 00 c0 7f
; mem 0x5020 = 00 80
; mem 0x5030 = 00 00 00 00 00 00 00 c0 ff ff
fninit
fldz
fldz
fldz
fldz
fldz
fldz
fldz
fldz
fld1                    ; overflow: TOP = 7
fnstsw ax
fstp tword [0x5000]
mov ecx, eax
fninit
fst dword [0x5010]      ; underflow
xor byte [0x5013], 0x80
fnstsw ax
mov ebx, eax
fistp word [0x5020]
fbstp [0x5030]
mov eax, ecx
