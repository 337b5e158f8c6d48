; Reserved NOPs read no memory; ENDBR64, RDSSP, PAUSE, PREFETCH do nothing. F3 REX.B 90 is a PAUSE: a REX prefix without a meaning is
; ignored (SDM 2 2.2.1). AMD's processors take it for an XCHG of R8 and RAX.
; rax = 7
; r8 = 8
; flags = C
mov rbx, 0x8000000000000000
mov eax, 7
mov r8d, 8
stc
nop dword [rbx]
nop qword [rbx+rcx*8+0x12345678]
endbr64
db 0xf3, 0x48, 0x0f, 0x1e, 0xc9 ; rdsspq rcx
db 0x0f, 0x0d, 0x0b             ; prefetchw [rbx]
prefetcht0 [rbx]
db 0xf3, 0x0f, 0x1e, 0xfb
db 0x66, 0x0f, 0x1b, 0x03
pause
lfence
mfence
sfence
clflush [rsp]
db 0xf3, 0x49, 0x90
