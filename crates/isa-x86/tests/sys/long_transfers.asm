; 64-bit mode: SYSCALL, SYSENTER and their returns, compatibility mode, call gates, segment bases, protections of pages.
%define LONG
%include "sys.inc"

    mov ecx, 0xc0000081         ; STAR: kernel CS 0x18 (so SS 0x20), user base 0x28
    xor eax, eax
    mov edx, (UCODE32 | 3) << 16 | CODE64
    wrmsr
    mov ecx, 0xc0000082
    mov eax, entry
    xor edx, edx
    wrmsr
    mov ecx, 0xc0000084
    mov eax, 0x4700
    wrmsr
    mov rax, cr4
    or eax, 1 << 16             ; FSGSBASE
    mov cr4, rax

    TRY 'sysretq to ring 3 and back'
    mov ecx, try0_user
    mov r11d, 0x3202
    o64 sysret
try0_user:
    mov ebp, esp
    std
    mov edi, cs
    mov r8d, ss
    syscall
try0_back:
    ud2
entry:
    cld
    SHOW 'rcx', ecx
    DONE
    jmp after_entry
after_entry:
    mov ebx, cs
    mov edi, ss
    PUTS 64, 'kernel'
    SHOW 'cs', ebx
    SHOW 'ss', edi
    SHOW 'r8', r8d
    PUTS 64, 10
    mov ax, DATA32
    mov ss, ax

    ; The same through a handler that shows everything.
    mov ecx, 0xc0000082
    mov eax, entry2
    xor edx, edx
    wrmsr
    TRY 'flags of syscall'
    mov ecx, try1_user2
    mov r11, -1 & ~0x10100      ; all but RF and TF
    o64 sysret
try1_user2:
    pushfq
    pop rbp
    syscall
entry2:
    mov r15, rcx
    pushfq
    pop rdi
    mov ebx, ebp
    and ebx, 0xffffff
    SHOW 'user', ebx
    SHOW 'r11', r11d
    SHOW 'kernel', edi
    DONE
    mov esp, STACK0
    push 2
    popfq
    mov ax, DATA32
    mov ss, ax

    TRY 'sysret to a non-canonical address'
    mov rcx, 0x800000000000
    o64 sysret
    DONE
    TRY 'sysret to compatibility mode'
    mov ecx, compat
    mov r11d, 0x202
    sysret
bits 32
compat:
    mov ebp, cs
    mov ax, UDATA | 3
    mov ds, ax
    syscall                     ; #UD outside 64-bit mode, as Intel has it
bits 64
    DONE

    TRY 'far return to compatibility mode, fault there'
    push CODE32
    push compat2
    retfq
bits 32
compat2:
    mov ax, SMALL
    mov es, ax
    mov eax, [es:0xffd]
bits 64
    DONE
    TRY 'limits in compatibility mode: last dword'
    push CODE32
    push compat3
    retfq
bits 32
compat3:
    mov ax, DOWN
    mov es, ax
    mov eax, [es:0x1000]
    mov eax, [es:0xfff]
bits 64
    DONE
    TRY 'compatibility mode at ring 3: int 0x20'
    push UDATA | 3
    push STACK3
    pushfq
    push UCODE32 | 3
    push compat4
    iretq
bits 32
compat4:
    push eax
    int 0x20
bits 64
    DONE
    TRY 'compatibility mode: far jump back to 64 bits'
    push CODE32
    push compat5
    retfq
bits 32
compat5:
    jmp CODE64:back64
bits 64
back64:
    mov rax, -1
    shr rax, 63
    SHOW 'one', eax
    DONE
    TRY '16-bit code under IA-32e mode'
    push CODE16
    push compat6
    retfq
bits 16
compat6:
    mov ax, 0x1234
    ud2
bits 64
    DONE

    ; SYSENTER.
    mov ecx, 0x174
    mov eax, 0
    xor edx, edx
    wrmsr
    TRY 'sysenter with a null CS'
    sysenter
    DONE
    mov ecx, 0x174
    mov eax, CODE64 - 0x10      ; CS is taken as it is, SS behind it
    wrmsr
    mov ecx, 0x175
    mov eax, STACK_TSS
    wrmsr
    mov ecx, 0x176
    mov eax, sysenter_entry
    wrmsr
    TRY 'sysenter from ring 3'
    TO_USER try10_user
try10_user:
    sysenter
sysenter_entry:
    mov ebx, cs
    mov edi, ss
    SHOW 'cs', ebx
    SHOW 'ss', edi
    SHOW 'rsp', esp
    DONE
    mov esp, STACK0
    mov ax, DATA32
    mov ss, ax
    mov ecx, 0x174
    mov eax, 0x18               ; SYSEXIT: CS 0x18 + 32, SS 0x18 + 40
    xor edx, edx
    wrmsr
    TRY 'sysexit to ring 3'
    mov edx, try11_user
    mov ecx, STACK3
    o64 sysexit
try11_user:
    mov ebx, cs
    ud2
    DONE

%ifndef LAX                    ; QEMU 7.2 clears it
    mov ax, DATA32
    mov gs, ax
    mov rax, 0x123456789abc
    wrgsbase rax
    TRY 'what iret makes null keeps its base'
    TO_USER .user
.user:
    mov ebx, gs
    rdgsbase rbp
    SHOW 'gs', ebx
    SHOW 'base', ebp
    ud2
    DONE
%endif

    ; Call gates.
    mov eax, gate_target
    mov ebx, CODE64 << 16
    mov bx, ax
    mov [gdt + GATE], ebx
    and eax, 0xffff0000
    or eax, 0xec00
    mov [gdt + GATE + 4], eax
    TRY 'call gate from ring 3 and far return'
    TO_USER try12_user
try12_user:
    call far [try12_pointer]
    mov ebx, cs
    mov edi, esp
    SHOW 'back at cs', ebx
    SHOW 'rsp', edi
    ud2
try12_pointer:
    dq 0
    dw GATE
gate_target:
    mov ebx, cs
    mov edi, ss
    SHOW 'gate cs', ebx
    SHOW 'ss', edi
    SHOW 'rsp', esp
    o64 retf
    DONE
    mov byte [gdt + GATE + 5], 0x8c
    TRY 'call gate of ring 0 from ring 3'
    TO_USER try13_user2
try13_user2:
    call far [try13_pointer2]
try13_pointer2:
    dq 0
    dw GATE
    DONE
    mov byte [gdt + GATE + 5], 0xec
    mov word [gdt + GATE + 2], CODE32
    TRY 'call gate to 32-bit code'
    call far [try14_pointer3]
try14_pointer3:
    dq 0
    dw GATE
    DONE
    TRY 'far jump to a TSS'
    jmp far [try15_pointer4]
try15_pointer4:
    dq 0
    dw TSS2
    DONE

    ; Bases.
    TRY 'swapgs, wrgsbase, MSRs'
    mov ecx, 0xc0000102
    mov eax, base_words
    xor edx, edx
    wrmsr
    mov rax, 0x12345678
    wrgsbase rax
    swapgs
    mov ebx, [gs:4]
    SHOW 'word', ebx
    mov ecx, 0xc0000102
    rdmsr
    mov ebx, eax
    SHOW 'kernel base', ebx
    mov eax, base_words
    wrfsbase rax
    mov ebx, [fs:0]
    SHOW 'fs', ebx
    DONE
    TRY 'null selector clears the base of GS'
    xor eax, eax
    mov gs, ax
    rdgsbase rbx
    SHOW 'base', ebx
    DONE
    TRY 'wrfsbase of a non-canonical address'
    mov rax, 0x800000000000
    wrfsbase rax
    DONE
    TRY 'a lock prefix that is not allowed'
    db 0xf0, 0x89, 0xc0
    DONE
    TRY 'lar, lsl, verr, verw'
    mov ecx, CONFORMING
    lar ebx, ecx
    setz dl
    SHOW 'lar', ebx
    mov ecx, SMALL
    lsl ebx, ecx
    SHOW 'lsl', ebx
    mov ecx, TSS
    lsl ebx, ecx
    SHOW 'lsl of TSS', ebx
    mov ecx, CODE32
    verw cx
    setz bl
    mov ecx, EXECONLY
    verr cx
    setz bh
    mov ecx, READONLY
    verr cx
    setz dl
    shl ebx, 8
    mov bl, dl
    and ebx, 0xffffff
    SHOW 'verify', ebx
    DONE
    TRY 'accessed bit is set'
    mov ebx, [gdt + FRESH + 4]
    SHOW 'before', ebx
    mov ax, FRESH
    mov ds, ax
    mov ebx, [gdt + FRESH + 4]
    SHOW 'after', ebx
    DONE

    jmp supervisor
align 16
base_words: dd 0x11111111, 0x22222222
supervisor:
    ; SMEP, SMAP, UMIP: this code's pages become supervisor's, PAGE0's stay the user's.
    mov dword [PD], 0x83
    mov rax, cr4
    or eax, 3 << 20 | 1 << 11
    mov cr4, rax
    TRY 'SMEP'
    mov byte [PAGE0], 0xc3
    call PAGE0
    DONE
    TRY 'SMAP'
    mov al, [PAGE0]
    DONE
    TRY 'SMAP suspended'
    stac
    mov byte [PAGE0], 0xc3
    mov bl, [PAGE0]
    clac
    and ebx, 0xff
    SHOW 'byte', ebx
    DONE
    TRY 'SMAP again behind CLAC'
    mov byte [PAGE0], 0xc3
    DONE
    TRY 'SMAP: implicit accesses are not suspended'
    mov byte [gdt + LDT + 4], PAGE0 >> 16
    mov word [gdt + LDT + 2], 0 ; the LDT on the user's page
    mov ax, LDT
    lldt ax
    stac
    mov ax, 0xc
    mov ds, ax
    DONE
    FINISH
