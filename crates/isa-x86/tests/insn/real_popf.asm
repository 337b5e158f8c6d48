; bits 16
; In real mode POPF writes IOPL, NT and IF freely; of 16 bits it leaves AC and ID, of 32 bits it writes them; VM and RF never.
; rax = 0x7202
; rbx = 0x247002
; rcx = 0x240002
; rdx = 0x2
push word 0x7202
popf
pushf
pop ax
push dword 0x00277002   ; ID, AC, VM, RF, NT, IOPL
popfd
pushfd
pop ebx
push word 0
popf                    ; AC and ID stay
pushfd
pop ecx
push dword 0
popfd
pushfd
pop edx
