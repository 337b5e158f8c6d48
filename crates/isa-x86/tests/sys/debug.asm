; Single-step, breakpoints on code, data and I/O, general detect, and what holds them off.
%define LONG
%include "sys.inc"

; #DB goes to a handler that notes RIP (relative to [base]) and DR6, sets RF, clears TF when [steps] is used up, and goes on.
    mov eax, db_handler
    mov [IDT + 16], ax
    shr eax, 16
    mov [IDT + 16 + 6], ax

%macro CASE 1
    PUTS 64, %1
    mov dword [steps], 100
    mov dword [base], %%base
%%base:
%endmacro
%macro STEP_ON 0
    pushfq
    or dword [rsp], 0x100
    popfq
%endmacro
%macro STEP_OFF 0
    pushfq
    and dword [rsp], ~0x100
    popfq
%endmacro
%macro ENDCASE 0
    PUTS 64, 10
%endmacro
%macro SET_DR 2
    mov rax, %2
    mov dr%1, rax
%endmacro

    CASE 'single-step:'
    STEP_ON                     ; POPF that sets TF does not trap itself
    nop
    mov eax, 1
    jmp .over
    ud2
.over:
    STEP_OFF                    ; POPF that clears TF does
    nop
    ENDCASE
    CASE 'single-step over MOV SS:'
    mov ecx, ss
    STEP_ON
    mov ss, ecx
    nop
    nop
    STEP_OFF
    ENDCASE
    CASE 'single-step over STI:'
    STEP_ON
    sti
    nop
    cli
    STEP_OFF
    ENDCASE
    CASE 'single-step into int 0x21:'
    mov eax, plain_iret
    mov [IDT + 0x21 * 16], ax
    shr eax, 16
    mov [IDT + 0x21 * 16 + 6], ax
    STEP_ON
    int 0x21
    nop
    STEP_OFF
    ENDCASE
%ifndef LAX                     ; QEMU has no such bits
    CASE 'single-step on branches, up to the first #DB:'
    mov edi, 0x30000
    mov ecx, 0x1d9              ; IA32_DEBUGCTL
    mov eax, 2
    xor edx, edx
    wrmsr
    mov ecx, 2
    STEP_ON
    rep stosb
    test eax, eax
    jz .nowhere
    jmp .branch
    ud2
.branch:
    nop
    STEP_OFF
    mov ecx, 0x1d9
    rdmsr
.nowhere:
    SHOW 'BTF', eax
    ENDCASE
%endif
    CASE 'single-step of REP STOSB:'
    mov edi, 0x30000
    mov ecx, 3
    STEP_ON
    rep stosb
    nop
    STEP_OFF
    ENDCASE
    CASE 'instruction breakpoint, RF resumes:'
    SET_DR 0, .here
    SET_DR 7, 0x401
    mov ecx, 2
.again:
    nop
.here:
    dec ecx
    jnz .again
    SET_DR 7, 0x400
    ENDCASE
    CASE 'a breakpoint clears what others have left, and BS stays:'
    SET_DR 1, .marked
    SET_DR 6, 0xffff4ff5
    SET_DR 7, 0x404
.marked:
    nop
    SET_DR 7, 0x400
    ENDCASE
    CASE 'instruction breakpoint behind MOV SS:'
    SET_DR 0, .held
    SET_DR 7, 0x401
    mov eax, ss
    mov ss, eax
.held:
    nop
    SET_DR 7, 0x400
    ENDCASE
    CASE 'data breakpoint, write of 4 bytes:'
    SET_DR 1, 0x30004
    SET_DR 7, 0x400 | 1 << 2 | 1 << 20 | 3 << 22
    mov eax, [0x30004]
    mov dword [0x30000], eax
    mov byte [0x30007], 1
    mov dword [0x30001], 1
    inc dword [0x30004]
    mov byte [0x30008], 1
    SET_DR 7, 0x400
    mov byte [0x30004], 1
    ENDCASE
    CASE 'data breakpoint, read or write of 8 bytes:'
    SET_DR 2, 0x30008
    SET_DR 7, 0x400 | 1 << 4 | 3 << 24 | 2 << 26
    mov al, [0x3000f]
    mov [0x30000], rax
    mov rax, [0x30001]
    push qword [0x30008]
    pop rax
    SET_DR 7, 0x400
    ENDCASE
    CASE 'data breakpoint held off by MOV SS:'
    SET_DR 3, spot
    SET_DR 7, 0x400 | 1 << 6 | 3 << 28 | 1 << 30
    mov ss, [spot]
    nop
    nop
    SET_DR 7, 0x400
    ENDCASE
%ifndef LAX                     ; QEMU forgets it
    CASE 'data breakpoint held off by MOV SS, into int 0x21:'
    SET_DR 3, spot
    SET_DR 7, 0x400 | 1 << 6 | 3 << 28 | 1 << 30
    mov dword [base], plain_iret
    mov ss, [spot]
    int 0x21
    SET_DR 7, 0x400
    ENDCASE
%endif
    CASE 'I/O breakpoint:'
    mov rax, cr4
    or al, 8
    mov cr4, rax
    SET_DR 0, 0x80
    SET_DR 7, 0x401 | 2 << 16
    mov al, 1
    out 0x81, al
    out 0x80, al
    nop
    SET_DR 7, 0x400
    mov rax, cr4
    and al, ~8
    mov cr4, rax
    ENDCASE
    CASE 'ICEBP:'
    db 0xf1
    nop
    ENDCASE
    CASE 'general detect:'
    SET_DR 7, 0x2400
    mov rbx, dr0
    mov rbx, dr7
    SHOW 'dr7', ebx
    ENDCASE
    TRY 'DR4 without CR4.DE'
    mov rax, dr4
    DONE
    mov rax, cr4
    or al, 8
    mov cr4, rax
    TRY 'DR4 with CR4.DE'
    mov rax, dr4
    DONE
    TRY 'DR7 beyond 32 bits'
    mov rax, 0x100000400
    mov dr7, rax
    DONE
    CASE 'single-step through SYSCALL and SYSRET:'
    mov ecx, 0xc0000081
    xor eax, eax
    mov edx, (UCODE32 | 3) << 16 | CODE64
    wrmsr
    mov ecx, 0xc0000082
    mov eax, entry
    xor edx, edx
    wrmsr
    mov ecx, 0xc0000084
    mov eax, 0x300              ; TF and IF are masked
    wrmsr
    mov ecx, .user
    mov r11d, 0x102
    mov r14d, 2
    o64 sysret
.user:
    nop
    syscall
    nop
    syscall
entry:
    dec r14d
    jz .last
    o64 sysret
.last:
    mov ax, DATA32
    mov ss, ax
    mov esp, STACK0
    ENDCASE
    FINISH

plain_iret:
    iretq
steps: dd 0
spot: dw DATA32

db_handler:
    push rax
    push rcx
    push rsi
    push rbp
    mov rbp, rsp
    PUTS 64, ' +'
    mov eax, [rbp + 32]
    sub eax, [base]
    PUTHEX 64, eax, 4
    mov rax, dr6
    PUTS 64, '/'
    PUTHEX 64, eax, 4
    mov eax, 0xffff0ff0
    mov dr6, rax
    or dword [rbp + 48], 0x10000
    dec dword [steps]
    jnz .more
    and dword [rbp + 48], ~0x100
.more:
    pop rbp
    pop rsi
    pop rcx
    pop rax
    iretq
