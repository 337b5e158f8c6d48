; Level 3: the frame pointers of the outer frames are copied, then the new one is pushed. The second copy is of the slot that the
; first push has just written.
; rbp = 0xefe8
; rsp = 0xefb0
; mem 0xefd0 = e8 ef 00 00 00 00 00 00 f8 ef 00 00 00 00 00 00 aa 00 00 00 00 00 00 00 f8 ef 00 00 00 00 00 00
mov ebp, 0xe000
enter 8, 0              ; RBP = 0xeff8, RSP = 0xeff0
mov qword [rbp-8], 0xaa
enter 0x20, 3
