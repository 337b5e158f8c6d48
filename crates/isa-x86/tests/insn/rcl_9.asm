; RCL and RCR of a byte are modulo 9: by 9 the operand and CF stay; by 10 it is by 1. A word is modulo 17. 64 bits mask to 6.
; rax = 0x81
; rbx = 0x03
; rcx = 0x0a
; rdx = 0x8001
; rsi = 0xc000000000000000
; rdi = 0x5
; flags = C
mov al, 0x81
stc
rcl al, 9
jnc fail
mov bl, 0x81
mov cl, 10
stc
rcl bl, cl          ; by 1: 0x03, C = 1
jnc fail
mov dx, 0x8001
rcr dx, 17
jnc fail
mov rsi, 1
rcr rsi, 65         ; by 1: C in, C out
jnc fail
rcr rsi, 1
jc fail
mov rdi, 0x8000000000000002
stc
rcl rdi, 1          ; C = the bit that went out
jmp done
fail: ud2
done:
