; PUSH RSP pushes the old value; POP RSP keeps the popped one; POP [RSP+..] addresses behind the pop; widths of 2 and 8.
; rax = 0xf000
; rbx = 0x5555
; rcx = 0xfffffffffffffffe
; rdx = 0x1234
; rsp = 0x8000
; r8 = 0xeffe
; mem 0xf000 = 11 11 11 11 00 00 00 00
push rsp
pop rax
push qword 0x5555
pop qword [rsp-8]
mov rbx, [rsp-8]
push -2
pop rcx
push 0x11111111
pop qword [rsp]
mov edx, 0x1234
push dx
mov r8, rsp
mov dx, 0
pop dx
push qword 0x8000
pop rsp
