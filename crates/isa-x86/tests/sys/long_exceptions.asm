; 64-bit mode: exceptions of instructions and of their delivery, with error codes and stacks.
%define LONG
%include "sys.inc"

%macro USER 0                   ; the rest of the TRY runs in ring 3
    push UDATA | 3
    push STACK3
    pushfq
    push UCODE64 | 3
    push %%user
    iretq
%%user:
%endmacro
%macro GATE_SET 3               ; vector, byte of the gate, value
    mov byte [IDT + %1 * 16 + %2], %3
%endmacro

    TRY 'divide'
    xor ecx, ecx
    div ecx
    DONE
    TRY 'ud2'
    nop
    ud2
    DONE
    TRY 'int3'
    int3
    DONE
    TRY 'int 0x20'
    int 0x20
    DONE
    TRY 'int beyond the IDT'
    int 0x40
    DONE
    TRY 'data selector beyond the GDT'
    mov ax, 0x1000
    mov ds, ax
    DONE
    TRY 'absent data segment'
    mov ax, ABSENT_DATA
    mov es, ax
    DONE
    TRY 'absent stack'
    mov ax, ABSENT_STACK
    mov ss, ax
    DONE
    TRY 'null SS in ring 0'
    xor eax, eax
    mov ss, ax
    mov eax, ss
    DONE
    TRY 'null SS with RPL 3'
    mov eax, 3
    mov ss, ax
    DONE
    TRY 'read-only SS'
    mov ax, READONLY
    mov ss, ax
    DONE
    TRY 'system descriptor as data'
    mov ax, TSS
    mov ds, ax
    DONE
    TRY 'execute-only as data'
    mov ax, EXECONLY
    mov ds, ax
    DONE
    TRY 'far return to data'
    push DATA32
    push 0
    retfq
    DONE
    TRY 'far return to absent code'
    push ABSENT_CODE
    push 0
    retfq
    DONE
    TRY 'far return to null'
    push 0
    push 0
    retfq
    DONE
    TRY 'iretq to a wrong stack'
    push UDATA
    push STACK3
    pushfq
    push UCODE64 | 3
    push 0
    iretq
    DONE
    TRY 'iretq to a wrong level'
    push UDATA | 3
    push STACK3
    pushfq
    push CODE64 | 3
    push 0
    iretq
    DONE
    TRY 'iretq with NT'
    pushfq
    or dword [rsp], 1 << 14
    popfq
    iretq
    DONE
    TRY 'not canonical'
    mov rax, 0x800000000000
    mov al, [rax]
    DONE
    TRY 'not canonical stack'
    mov rbp, 0x800000000000
    mov al, [rbp]
    DONE
    TRY 'not canonical jump'
    mov rax, 0x800000000000
    jmp rax
    DONE
    TRY 'ltr of a busy TSS'
    mov ax, TSS
    ltr ax
    DONE
    TRY 'lldt of data'
    mov ax, DATA32
    lldt ax
    DONE
%ifndef LAX                    ; QEMU does not check these
    mov dword [gdt + TSS2 + 8], 0x8000
    TRY 'ltr of a TSS that is not canonical'
    mov ax, TSS2
    ltr ax
    DONE
    mov dword [gdt + TSS2 + 8], 0
    mov dword [gdt + LDT + 8], 0xffff7fff
    TRY 'lldt of an LDT that is not canonical'
    mov ax, LDT
    lldt ax
    DONE
    mov dword [gdt + LDT + 8], 0
    TRY 'wrmsr of an APIC base beyond physical addresses'
    mov ecx, 0x1b
    mov eax, 0xfee00900
    mov edx, 0x100
    wrmsr
    DONE
    TRY 'wrmsr of a bad EFER'
    mov ecx, 0xc0000080
    mov eax, 0x2
    xor edx, edx
    wrmsr
    DONE
    TRY 'rdmsr of nothing'
    mov ecx, 0x12345
    rdmsr
    DONE
    TRY 'CR4.PAE cleared'
    mov eax, 0x600
    mov cr4, rax
    DONE
    TRY 'CR0.PG cleared'
    mov eax, 0x11
    mov cr0, rax
    DONE
    TRY 'CR0 of PG without PE'
    mov eax, 0x80000010
    mov cr0, rax
    DONE
    TRY 'CR0.NW without CD'
    mov rax, cr0
    btr eax, 30
    or eax, 0x20000000
    mov cr0, rax
    DONE
    TRY 'CR4 of a reserved bit'
    mov rax, cr4
    bts rax, 30
    mov cr4, rax
    DONE
    TRY 'CR3 beyond the physical width'
    mov rax, cr3
    bts rax, 60
    mov cr3, rax
    DONE
    TRY 'CR8 of 16'
    mov eax, 16
    mov cr8, rax
    DONE

%endif

    ; Paging.
    mov qword [PT + 8 * 1], 0                           ; absent
    mov qword [PT + 8 * 2], PAGE0 + 0x2000 | 5          ; read-only
    mov qword [PT + 8 * 3], PAGE0 + 0x3000 | 3          ; supervisor
    mov rax, 1 << 63 | PAGE0 + 0x4000 | 7               ; no execute
    mov [PT + 8 * 4], rax
    mov rax, 1 << 51 | PAGE0 + 0x5000 | 7               ; reserved bit
    mov [PT + 8 * 5], rax
    mov rax, cr3
    mov cr3, rax
    TRY 'absent page read'
    mov al, [PAGE0 + 0x1234]
    DONE
    TRY 'absent page written, across the page before it'
    mov dword [PAGE0 + 0xffe], 0
    DONE
    TRY 'read-only page written'
    mov [PAGE0 + 0x2345], al
    DONE
    TRY 'no execute'
    mov eax, PAGE0 + 0x4000
    jmp rax
    DONE
    TRY 'reserved bit'
    mov al, [PAGE0 + 0x5000]
    DONE
    TRY 'user reads supervisor page'
    USER
    mov al, [PAGE0 + 0x3000]
    DONE
    TRY 'user writes read-only page'
    USER
    inc dword [PAGE0 + 0x2000]
    DONE
    TRY 'user executes no-execute page'
    USER
    mov eax, PAGE0 + 0x4000
    jmp rax
    DONE
    TRY 'push to an absent page'
    USER
    mov esp, PAGE0 + 0x2000
    push rax
    DONE

    ; Privilege.
    TRY 'user: int 0x20'
    USER
    int 0x20
    DONE
    TRY 'user: int 0x10'
    USER
    int 0x10
    DONE
    TRY 'user: hlt'
    USER
    hlt
    DONE
    TRY 'user: cli'
    USER
    cli
    DONE
    TRY 'user: in'
    USER
    in al, 0x80
    DONE
    mov word [tss + 102], 0x68
    TRY 'user: in beyond the permission map'
    USER
    in al, 0x80
    DONE
    mov word [tss + 102], 0
    mov byte [tss + 16], 1 << 3
    TRY 'user: in of a permitted port beside a denied one'
    USER
    in al, 0x82
    in ax, 0x82
    DONE
    mov byte [tss + 16], 0
    TRY 'user: mov cr0'
    USER
    mov rax, cr0
    DONE
    TRY 'user: rdmsr'
    USER
    rdmsr
    DONE
    TRY 'user: swapgs'
    USER
    swapgs
    DONE
    TRY 'user: kernel data segment'
    USER
    mov ax, DATA32
    mov ds, ax
    DONE
    TRY 'user: null SS'
    USER
    xor eax, eax
    mov ss, ax
    DONE
    TRY 'user: divide error'
    USER
    xor ecx, ecx
    div ecx
    DONE
    TRY 'user: popf leaves IF and IOPL'
    USER
    push 0x3202
    popfq
    ud2
    DONE

    ; Delivery.
    GATE_SET 0x21, 4, 1                 ; IST 1
    TRY 'int through an IST'
    int 0x21
    DONE
    TRY 'user: int through an IST'
    USER
    int 0x21
    DONE
    GATE_SET 0x22, 5, 0xef              ; trap gate
    TRY 'int through a trap gate keeps IF'
    sti
    int 0x22
    DONE
    TRY 'int through an interrupt gate clears IF'
    sti
    int 0x20
    DONE
    GATE_SET 0x23, 5, 0x6e              ; absent
    TRY 'int through an absent gate'
    int 0x23
    DONE
    GATE_SET 0x24, 2, ABSENT_CODE
    TRY 'int to absent code'
    int 0x24
    DONE
    GATE_SET 0x25, 2, CODE32
    TRY 'int to 32-bit code'
    int 0x25
    DONE
    GATE_SET 0x26, 5, 0xe5              ; task gate
    TRY 'int through a task gate'
    int 0x26
    DONE
    GATE_SET 0x27, 2, 0
    TRY 'int to a null selector'
    int 0x27
    DONE
    GATE_SET 6, 5, 0x0e                 ; #UD is absent
    TRY 'exception through an absent gate'
    ud2
    DONE
    GATE_SET 6, 2, 0xf0
    GATE_SET 6, 5, 0x8e
    TRY 'exception to code beyond the GDT'
    ud2
    DONE
    GATE_SET 13, 5, 0x0e                ; #GP is absent
    TRY 'contributory and contributory'
    mov ax, 0x1000
    mov ds, ax
    DONE
    GATE_SET 14, 5, 0x0e
    TRY 'page fault and contributory'
    mov al, [PAGE0 + 0x1000]
    DONE
    GATE_SET 14, 5, 0x8e
    GATE_SET 13, 5, 0x8e
    mov dword [tss + 4], PAGE0 + 0x2000 ; RSP0 on an absent page
    GATE_SET 8, 4, 1
    GATE_SET 14, 4, 1
    TRY 'page fault while delivering a benign one'
    USER
    int3
    DONE
    GATE_SET 14, 4, 0
    TRY 'page fault while delivering a page fault'
    USER
    mov al, [PAGE0 + 0x3000]
    DONE
    mov dword [tss + 4], STACK_TSS
    GATE_SET 12, 4, 1
    mov dword [tss + 8], 0x8000         ; RSP0 not canonical
    TRY 'RSP0 not canonical'
    USER
    int 0x21
    DONE
    GATE_SET 12, 4, 0
    TRY 'RSP0 not canonical: #SS has no stack either'
    USER
    int 0x20
    DONE
    mov dword [tss + 8], 0
    mov dword [tss + 4], STACK_TSS

    FINISH
