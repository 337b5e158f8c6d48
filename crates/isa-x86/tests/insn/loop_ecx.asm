; LOOP counts RCX, or ECX with an address-size prefix, which clears the upper half; LOOPE stops at the first that differs.
; rax = 3
; rcx = 0x2
; rdx = 0x0
; rbx = 5
xor eax, eax
mov rcx, 0x100000003
l: inc eax
a32 loop l
cmp rcx, 0
jne fail
jrcxz ok
fail: ud2
ok:
mov ecx, 5
m: inc ebx
cmp ebx, 3
loopne m
cmp ecx, 2
jne fail
mov r8d, 5
mov edx, ecx
mov ecx, 1
mov ebx, 5
cmp ebx, 5
n: loope n              ; counts to 0
jrcxz p
ud2
p: mov ecx, edx
xor edx, edx
