; MOVAPS wants the alignment of the linear address, not of the offset: FS's base is 8.
; fault = #GP(0) at misaligned
mov eax, 8
wrfsbase rax
movaps xmm0, [fs:0x300008]
movups xmm0, [fs:0x300010]
misaligned: movaps xmm0, [fs:0x300010]
