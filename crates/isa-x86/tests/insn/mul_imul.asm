; CF and OF: the high half says more than the low one. High bytes as operands; 32 bits clear the upper halves.
; rax = 0x8000000000000000
; rdx = 0xffffffffffffffff
; rbx = 0xfffffffe
; rcx = 0x1
; rsi = 0xfe01
; rdi = 0xffd8
; r8 = 0x7fffffff00000001
; flags = !C !O
mov eax, -1
mov edx, -1
mov rcx, -1
mul ecx                 ; EDX:EAX = fffffffe:00000001
jnc fail
mov ebx, edx
mov ecx, eax
mov eax, 0xffff
mul ah                  ; AX = ff * ff
jno fail
mov esi, eax
mov eax, 5
mov dl, -8
imul dl                 ; AX = -40, fits
jc fail
mov edi, eax
imul r8, rdi, 0x10000
jc fail
mov r8, 0x7fffffff
imul r9, r8, -1
jc fail
mov r9, 0x7fffffff00000001
imul r8d, r8d           ; 3fffffff00000001 does not fit
jnc fail
mov r8, r9
imul r10, r9, 4
jno fail
mov rax, 0x4000000000000000
mov rdx, -2
imul rdx                ; 128 bits: -2^63, which fits
jmp done
fail: ud2
done:
