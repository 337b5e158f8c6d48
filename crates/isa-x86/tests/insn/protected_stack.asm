; bits 32
; PUSHA pushes the ESP that was, POPA skips it; POP addresses behind the pop; PUSH of both sizes; CALL and RET of 16 bits.
; rax = 1
; rbx = 4
; rcx = 2
; rdx = 3
; rbp = 6
; rsi = 7
; rdi = 0x88
; rsp = 0xf000
; mem 0xeffa = 11 ff fe ff ff ff
; mem 0xefe0 = 78 56 34 12
mov eax, 1
mov ecx, 2
mov edx, 3
mov ebx, 4
mov ebp, 6
mov esi, 7
mov edi, 8
pusha
cmp dword [esp+12], 0xf000
jne fail
mov dword [esp+12], 0x99
mov dword [esp], 0x88
popa
cmp esp, 0xf000
jne fail
push byte -2
push word -0xef
add esp, 2
push 0x12345678
pop dword [esp-0x1c]    ; ESP is 0xeffc behind the pop
add esp, 4
mov word [0xeffa], 0xff11
jmp done
fail: ud2
done:
