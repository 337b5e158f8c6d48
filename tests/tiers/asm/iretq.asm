; A kernel that goes to user code by IRETQ, RBP times. The user code adds to RBX what it sees and comes back by SYSCALL.
;
; R12: where the user code is. R8: its RFLAGS. R13: the kernel's stack. The GDT is that of returns.rs.
bits 64
org 0x100000

%define KDATA 0x10
%define UDATA 0x1b
%define UCODE 0x23

%macro ENTER_USER 0
    push UDATA
    push r13
    push r8
    push UCODE
    push r12
    iretq
%endmacro
%macro AGAIN 1                  ; label
    dec ebp
    jnz %1
    hlt
%endmacro

; 0: nothing else.
plain:
    ENTER_USER
times 0x40 - ($ - $$) nop
    mov rsp, r13
    AGAIN plain

; 0x80: GS is a segment that user code may not have: it becomes null, and keeps the base that the kernel has given it.
times 0x80 - ($ - $$) nop
inner:
    mov eax, KDATA
    mov gs, eax
    wrgsbase r10
    jmp .there                  ; what follows is translated
.there:
    swapgs
    swapgs
    ENTER_USER
times 0xc0 - ($ - $$) nop
    mov rsp, r13
    mov eax, gs
    add rbx, rax
    AGAIN inner

; 0x100: the descriptor of the user's code, R9, is not marked as accessed; it is executed too, from its byte 5 on: CLI or STI, SCASD, RET.
times 0x100 - ($ - $$) nop
marked:
    and byte [r9 + 5], 0xfe
    lea rax, [r9 + 5]
    mov esi, 100
.unmarked:
    lea rdi, [rsp - 64]
    call rax
    dec esi
    jnz .unmarked
    pushfq
    pop rdx
    and edx, 1 << 9
    sub rbx, rdx
    ENTER_USER
times 0x180 - ($ - $$) nop
    mov rsp, r13
    lea rax, [r9 + 5]
    lea rdi, [rsp - 64]
    call rax
    pushfq
    pop rdx
    and edx, 1 << 9
    add rbx, rdx
    AGAIN marked

; 0x200: IRETQ in a nested task faults.
times 0x200 - ($ - $$) nop
nested:
    pushfq
    or dword [rsp], 1 << 14
    popfq
    ENTER_USER
times 0x240 - ($ - $$) nop
    mov rsp, r13
    AGAIN nested

; 0x280: the user's code.
times 0x280 - ($ - $$) nop
    add rbx, 3
    add rbx, [gs:0x110f000]
    mov esi, 20                 ; what comes late comes here
.later:
    dec esi
    jnz .later
    syscall

; 0x2c0: what interrupts and NMIs come to: counts them in R14, and in R15 those before the first instruction of the user's code.
times 0x2c0 - ($ - $$) nop
    inc r14
    cmp [rsp], r12
    jne .late
    inc r15
.late:
    iretq

; 0x300: no return, but STI: what waits comes behind one instruction more.
times 0x300 - ($ - $$) nop
sti_turn:
    lea r12, [rel .behind]
    jmp .turn                   ; so that the region begins there, with IF clear
.turn:
    add rbx, 3
    sti
    inc edx
.behind:
    inc edx
    cli
    dec ebp
    jnz .turn
    hlt
