; FNSTENV masks all exceptions and so takes a pending one back; FLDCW that unmasks it again brings it back, for FWAIT to raise.
; rax = 0x3004
; rbx = 0xb084
; fault = #MF at waiting
fninit
mov word [0x5000], 0x37b
fldcw [0x5000]
fld1
fldz
fdivp st1, st0
fnstenv [0x5100]
fnstsw ax
fwait
fldcw [0x5000]
mov ecx, eax
fnstsw ax
mov ebx, eax
mov eax, ecx
waiting: fwait
