; CBW, CWDE, CDQE, CWD, CDQ, CQO
; rax = 0xffffffffffffff80
; rdx = 0xffffffffffffffff
; rbx = 0xffffffff
; rcx = 0x1111ff80
; rsi = 0x2222ffff
mov eax, 0x11110080
cbw
mov ecx, eax
mov edx, 0x22220000
cwd
mov esi, edx
cwde
cdq
mov ebx, edx
cdqe
cqo
