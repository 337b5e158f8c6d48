; Counts in a page that becomes code: at RBX is MOV EAX, imm32, RET, and its immediate is the counter. RDX becomes the sum of what it returned.
bits 64
org 0x100000
page:
    mov ecx, 0xe00
.turn:
    inc dword [rbx + 1]
    test ecx, 0x3ff
    jnz .next
    call rbx
    add rdx, rax
.next:
    dec ecx
    jnz .turn
    add rbx, 0x1000
    dec ebp
    jnz page
    hlt
