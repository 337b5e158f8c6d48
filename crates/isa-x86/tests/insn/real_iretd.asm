; bits 16
; In real mode IRETD writes AC, ID and IOPL; VM, VIF and VIP stay (SDM 2 IRET).
; rax = 0x243002
push dword 0x003e3002
push dword 0
push dword there
iretd
there: pushfd
pop eax
