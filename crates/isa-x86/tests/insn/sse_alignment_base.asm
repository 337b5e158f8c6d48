; bits 32
; MOVAPS wants the alignment of the linear address, not of the offset: in a segment with base 8.
; fault = #GP(0) at misaligned
lgdt [gdtr]
mov eax, 8
mov ds, eax
mov eax, 0x300008
movaps xmm0, [eax]
mov eax, 0x300010
movups xmm0, [eax]
misaligned: movaps xmm0, [eax]
align 8
gdt: dq 0, 0x00cf93000008ffff
gdtr: dw 15
dd gdt
