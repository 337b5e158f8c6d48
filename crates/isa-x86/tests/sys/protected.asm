; 32-bit protected mode: segments, gates, privilege changes, tasks, virtual-8086 mode.
%include "sys.inc"

%macro USER 0
    push dword UDATA | 3
    push dword STACK3
    pushfd
    push dword UCODE32 | 3
    push dword %%user
    iretd
%%user:
%endmacro
%macro GATE_SET 3
    mov byte [IDT + %1 * 8 + %2], %3
%endmacro

    TRY 'segment limit'
    mov ax, SMALL
    mov es, ax
    mov eax, [es:0xffc]
    mov eax, [es:0xffd]
    DONE
    TRY 'expand-down limit'
    mov ax, DOWN
    mov es, ax
    mov eax, [es:0x1000]
    mov eax, [es:0xffc]
    DONE
    TRY 'expand-down wraps'
    mov ax, DOWN
    mov es, ax
    mov eax, [es:0xfffffffd]
    DONE
    TRY 'write to read-only data'
    mov ax, READONLY
    mov es, ax
    mov eax, [es:0]
    mov [es:0], eax
    DONE
    TRY 'write to code'
    mov [cs:0], eax
    DONE
    TRY 'null segment'
    xor eax, eax
    mov es, ax
    mov eax, [es:0]
    DONE
    TRY 'null SS'
    xor eax, eax
    mov ss, ax
    DONE
    mov byte [gdt + SMALL + 5], 0xf3
    TRY 'user: stack limit'
    USER
    mov ax, SMALL | 3
    mov ss, ax
    mov esp, 0xffe
    pop eax
    DONE
    mov ax, DATA32
    mov ss, ax
    mov esp, STACK0
    TRY 'selector beyond the LDT, no LDT'
    mov ax, 4
    mov es, ax
    DONE
    TRY 'LDT'
    mov ax, LDT
    lldt ax
    mov ax, DATA32 | 4
    mov es, ax
    mov ax, 0x34
    mov es, ax
    DONE
    TRY 'far jump to absent code'
    jmp ABSENT_CODE:0
    DONE
    TRY 'far jump to data'
    jmp DATA32:0
    DONE
    TRY 'far jump to null'
    jmp 0:0
    DONE
    TRY 'far jump beyond the limit'
    jmp CODE16:0x10000
    DONE
    TRY 'conforming code keeps CPL'
    USER
    call CONFORMING:.conforming
    ud2
.conforming:
    hlt
    DONE
    TRY 'far call to ring 3 code'
    call UCODE32:0
    DONE
    TRY 'user: int 0x20'
    USER
    int 0x20
    DONE
    TRY 'user: int 0x10'
    USER
    int 0x10
    DONE
    TRY 'user: kernel segment'
    USER
    mov ax, DATA32
    mov es, ax
    DONE
    TRY 'user: absent page of nothing: hlt'
    USER
    hlt
    DONE
    TRY 'return to ring 3 drops kernel segments'
    mov ax, DATA32
    mov fs, ax
    mov ax, UDATA | 3
    mov gs, ax
    USER
    mov ebx, fs
    mov edi, gs
    mov ax, UDATA | 3
    mov ds, ax
    SHOW 'fs', ebx
    SHOW 'gs', edi
    ud2
    DONE

    ; Call gates.
    mov eax, gate_target
    mov ebx, CODE32 << 16
    mov bx, ax
    mov [gdt + GATE], ebx
    and eax, 0xffff0000
    or eax, 0xec02              ; two parameters
    mov [gdt + GATE + 4], eax
    TRY 'call gate with parameters'
    USER
    mov ax, UDATA | 3
    mov ds, ax
    push dword 0x11111111
    push dword 0x22222222
    call GATE:0
    mov edi, esp
    SHOW 'back', edi
    ud2
gate_target:
    SHOW 'sp', esp
    mov ebx, [esp + 8]
    SHOW 'parameter', ebx
    mov ebx, [esp + 12]
    SHOW 'parameter', ebx
    mov ebx, [esp + 16]
    SHOW 'old sp', ebx
    retf 8
    DONE
    TRY 'call gate without privilege change'
    call GATE:0
    SHOW 'back', esp
    DONE
    ; With a bad SS0 only a task can handle the fault.
    GATE_SET 10, 5, 0x85
    mov word [IDT + 10 * 8 + 2], TSS2
    GATE_SET 12, 5, 0x85
    mov word [IDT + 12 * 8 + 2], TSS2
    mov dword [tss + 8], READONLY
    call fill_tss2
    mov dword [tss2 + 32], bad_stack
    TRY 'inner stack read-only'
    USER
    call GATE:0
bad_stack:
    pop ebx
    SHOW 'code', ebx
    mov ebx, [tss + 32]
    sub ebx, [base]
    SHOW 'eip', ebx
    DONE
    call back_to_tss
    mov dword [tss + 8], ABSENT_STACK
    call fill_tss2
    mov dword [tss2 + 32], absent_stack
    TRY 'inner stack absent'
    USER
    call GATE:0
absent_stack:
    pop ebx
    SHOW 'code', ebx
    DONE
    call back_to_tss
    mov dword [tss + 8], DATA32

    ; Tasks.
    call fill_tss2
    mov dword [tss2 + 32], .task
    TRY 'far call to a TSS and iret'
    call TSS2:0
    SHOW 'back', esp
    jmp .over
.task:
    str bx
    and ebx, 0xffff
    pushfd
    pop edi
    and edi, 0x4000
    SHOW 'tr', ebx
    SHOW 'NT', edi
    mov edi, [tss2]
    SHOW 'link', edi
    mov edi, cr0
    and edi, 8
    SHOW 'TS', edi
    iretd
.over:
    mov ebx, [gdt + TSS + 4]
    mov edi, [gdt + TSS2 + 4]
    SHOW 'TSS', ebx
    SHOW 'TSS2', edi
    DONE
    call fill_tss2
    mov dword [tss2 + 32], .task2
    TRY 'int through a task gate, with error code'
    GATE_SET 13, 5, 0x85
    mov word [IDT + 13 * 8 + 2], TSS2
    mov ax, 0x1000
    mov es, ax
.task2:
    pop ebx
    SHOW 'code', ebx
    mov ebx, [tss + 32]         ; EIP of the interrupted task
    sub ebx, [base]
    SHOW 'eip', ebx
    mov dword [tss + 32], .after
    iretd
.after:
    DONE
    mov word [IDT + 13 * 8 + 2], CODE32
    GATE_SET 13, 5, 0x8e
    TRY 'far jump to a busy TSS'
    jmp TSS:0
    DONE
    TRY 'far jump to a 16-bit TSS'
    mov word [tss16 + 14], task16
    mov word [tss16 + 16], 2
    mov word [tss16 + 26], 0xf000
    mov word [tss16 + 34], DATA32
    mov word [tss16 + 36], CODE32
    mov word [tss16 + 38], DATA32
    mov word [tss16 + 40], DATA32
    jmp TSS16:0
    ud2
task16:
    mov ebx, esp
    mov esp, STACK0
    SHOW 'esp', ebx
    str bx
    and ebx, 0xffff
    SHOW 'tr', ebx
    DONE
    call back_to_tss

    ; Virtual-8086 mode.
%macro V86 1                    ; label of 16-bit code; FLAGS
    push dword 0x44             ; GS
    push dword 0x33
    push dword 0x22
    push dword 0x11
    push dword 0x7000           ; SS
    push dword 0x1000           ; SP
    push dword %1
    push dword 0
    push dword %%code
    iretd
bits 16
%%code:
%endmacro
    TRY 'v86: ud2'
    V86 0x23002
    ud2
bits 32
    DONE
    TRY 'v86: segments are paragraphs'
    V86 0x23002
    mov ax, cs
    mov ds, ax
    mov bx, [.value]
    mov es, bx
    mov ax, [es:0]
    into
    cmp bx, 0x1234
    je .equal
    hlt
.equal:
    int3
.value: dw 0x1234
bits 32
    DONE
    TRY 'v86: cli with IOPL 3'
    V86 0x23202
    cli
    ud2
bits 32
    DONE
    TRY 'v86: cli with IOPL 0'
    V86 0x20202
    cli
bits 32
    DONE
    TRY 'v86: int with IOPL 0'
    V86 0x20002
    int 0x20
bits 32
    DONE
    TRY 'v86: int with IOPL 3'
    V86 0x23002
    int 0x20
bits 32
    DONE
    TRY 'v86: int3 with IOPL 0'
    V86 0x20002
    int3
bits 32
    DONE
    TRY 'v86: limit'
    V86 0x23002
    mov bx, 0xffff
    mov ax, [bx]
bits 32
    DONE
    TRY 'v86: lgdt'
    V86 0x23002
    lgdt [0]
bits 32
    DONE
    TRY 'v86: sldt'
    V86 0x23002
    sldt ax
bits 32
    DONE
    TRY 'v86: in without permission'
    mov word [tss + 102], 0x68
    V86 0x23002
    in al, 0x80
bits 32
    DONE
    TRY 'v86: pushf with IOPL 0'
    V86 0x20002
    pushf
bits 32
    DONE

    ; PAE paging without long mode.
    mov edi, PML4
    xor eax, eax
    mov ecx, 0x3000 / 4
    rep stosd
    mov dword [PML4], PD | 1
    mov dword [PD], 0x83
    mov dword [PD + 8], 0x200083
    mov eax, PML4
    mov cr3, eax
    mov eax, 1 << 5
    mov cr4, eax
    mov eax, cr0
    or eax, 0x80000000
    TRY 'PAE'
    mov cr0, eax
    mov ebx, [0x3ffffc]
    mov eax, [0x400000]
    DONE
    TRY 'PDPTE with a reserved bit'
    mov dword [PML4], PD | 3
    mov eax, cr3
    mov cr3, eax
    DONE
    mov eax, cr0
    btr eax, 31
    mov cr0, eax
    xor eax, eax
    mov cr4, eax
    TRY '32-bit paging with 4 MiB pages'
    mov eax, 1 << 4
    mov cr4, eax
    mov dword [PD], 0x83
    mov dword [PD + 4], 0
    mov eax, PD
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    mov ebx, [0x3ffffc]
    mov eax, [0x400004]
    DONE
    FINISH

; Makes the first TSS the current one again, and the others available.
back_to_tss:
    pop ebp
    mov esp, STACK0
    mov byte [gdt + TSS + 5], 0x89
    mov byte [gdt + TSS2 + 5], 0x89
    mov ax, TSS
    ltr ax
    mov ax, DATA32
    mov ss, ax
    xor eax, eax
    mov fs, ax
    mov gs, ax
    push dword 2
    popfd
    jmp ebp

fill_tss2:
    mov dword [tss2 + 4], STACK_IST
    mov dword [tss2 + 8], DATA32
    mov dword [tss2 + 28], 0
    mov dword [tss2 + 32], stubs32 + 12 * 16
    mov dword [tss2 + 36], 2
    mov dword [tss2 + 56], STACK_IST
    mov dword [tss2 + 72], DATA32
    mov dword [tss2 + 76], CODE32
    mov dword [tss2 + 80], DATA32
    mov dword [tss2 + 84], DATA32
    mov dword [tss2 + 88], 0
    mov dword [tss2 + 92], 0
    mov dword [tss2 + 96], 0
    ret
