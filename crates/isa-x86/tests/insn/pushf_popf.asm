; At ring 0 POPF sets everything but RF and VM; 16 bits leave the upper flags.
; rax = 0x247ed7
; rbx = 0x247002
push 0x277ed7           ; with RF and VM
popfq
pushfq
pop rax
push word 0x7002
popfw
pushfq
pop rbx
push 2
popfq
