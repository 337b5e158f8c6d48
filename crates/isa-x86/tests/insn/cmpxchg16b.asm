; CMPXCHG8B and CMPXCHG16B change ZF alone.
; rax = 0x1
; rdx = 0x2
; mem 0x5000 = 03 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00
; mem 0x5010 = 33 33 33 33 44 44 44 44
; flags = !Z C S O
mov edi, 0x5000
mov qword [rdi], 1
mov qword [rdi+8], 2
mov qword [rdi+16], 0
mov eax, 9
mov edx, 2
mov ebx, 3
mov ecx, 4
cmpxchg16b [rdi]        ; fails, loads 2:1
jz fail
lock cmpxchg16b [rdi]
jnz fail
mov r8, rax
mov r9, rdx
xor eax, eax
xor edx, edx
mov ebx, 0x33333333
mov ecx, 0x44444444
cmpxchg8b [rdi+16]
jnz fail
mov ecx, 0x7fffffff
mov esi, 0x80000000
cmp ecx, esi            ; C, O, S
mov eax, 5
cmpxchg8b [rdi+16]
mov rax, r8
mov rdx, r9
jmp done
fail: ud2
done:
