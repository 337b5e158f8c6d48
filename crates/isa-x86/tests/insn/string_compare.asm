; REPE CMPS stops behind the first difference with its flags; REPNE SCAS finds a byte; a count of 0 leaves flags and registers.
; rcx = 0x0
; rsi = 0x5004
; rdi = 0x6004
; rdx = 0x5003
; r8 = 97
; r9 = 4
; flags = C !Z
mov dword [0x5000], 0x44434241
mov dword [0x6000], 0x45434241
mov dword [0x5004], 0x44434241
mov dword [0x6004], 0x44434241
mov eax, 0x43
mov edi, 0x5000
mov ecx, 100
repne scasb
jne fail
mov edx, edi
mov r8d, ecx
mov esi, 0x5000
mov edi, 0x6000
mov ecx, 8
repe cmpsb              ; 0x44 - 0x45
mov r9d, ecx
mov ecx, 0
repe cmpsb
repne scasb
jmp done
fail: ud2
done:
