; CMPXCHG compares the accumulator less the destination; a failed one loads the accumulator.
; rax = 0x7
; rbx = 0x5
; rcx = 0xffffffff00000009
; mem 0x5000 = 07 00 00 00
; mem 0x5008 = 2a 00 00 00
; flags = C S !Z
mov edi, 0x5000
mov dword [rdi], 7
mov dword [rdi+8], 5
mov eax, 5
mov ebx, 42
lock cmpxchg [rdi+8], ebx
jnz fail
mov rcx, 0xffffffff00000009
mov eax, 5
mov ebx, 5
cmpxchg ecx, ebx        ; fails: a register destination stays whole
jz fail
cmp eax, 9
jne fail
mov eax, 5
cmpxchg [rdi], ebx
jmp done
fail: ud2
done:
