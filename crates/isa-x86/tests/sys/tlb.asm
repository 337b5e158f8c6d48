; What must be seen after page tables change: INVLPG, INVPCID, MOV CR3 with and without PCID, large pages, accessed and dirty bits.
; Each line is what the reads gave, in order.
%define LONG
%include "sys.inc"

%define A PAGE0 + 0x1000        ; the pages' physical addresses; their first words say which they are
%define B PAGE0 + 0x2000
%define V PAGE0 + 0x10000       ; the address that is mapped here and there
%define VPTE PT + 8 * 16
%define PML4B 0x48000           ; a second address space: PAGE0's table differs
%define PDPTB 0x49000
%define PDB   0x4a000
%define PTB   0x4b000

%macro CASE 1
    PUTS 64, %1, ':'
%endmacro
%macro READ 1                   ; prints the word at an address
    mov ebx, [%1]
    PUTS 64, ' '
    PUTHEX 64, ebx, 4
%endmacro
%macro MAP 2                    ; entry, value
    mov qword [%1], %2
%endmacro
%macro ENDCASE 0
    PUTS 64, 10
%endmacro
%macro CR3 2                    ; tables, PCID; bit 63 in %3
    mov eax, %1 + %2
    mov cr3, rax
%endmacro
%macro CR3_KEEP 2
    mov eax, %1 + %2
    bts rax, 63
    mov cr3, rax
%endmacro
%macro BITS_OF 1
    mov ebx, [%1]
    and ebx, 0x60
    PUTS 64, ' '
    PUTHEX 64, ebx, 4
%endmacro

    mov dword [A], 0xaaaa
    mov dword [B], 0xbbbb
    ; The second address space.
    mov edi, PML4B
    xor eax, eax
    mov ecx, 0x4000 / 4
    rep stosd
    mov dword [PML4B], PDPTB | 7
    mov dword [PDPTB], PDB | 7
    mov dword [PDB], 0x87
    mov dword [PDB + 8], PTB | 7
    mov dword [PDB + 16], 0x400087
    mov dword [PTB + 8 * 16], B | 7

    CASE 'INVLPG'
    MAP VPTE, A | 7
    READ V
    MAP VPTE, B | 7
    invlpg [V + 0x234]
    READ V
    ENDCASE
    CASE 'INVLPG of a global page'
    mov rax, cr4
    or eax, 1 << 7
    mov cr4, rax
    MAP VPTE, A | 0x107
    invlpg [V]
    READ V
    MAP VPTE, B | 0x107
    invlpg [V]
    READ V
    ENDCASE
    CASE 'MOV CR3'
    MAP VPTE, A | 7
    invlpg [V]
    READ V
    MAP VPTE, B | 7
    mov rax, cr3
    mov cr3, rax
    READ V
    ENDCASE
    CASE 'CR4.PGE drops global pages'
    MAP VPTE, A | 0x107
    invlpg [V]
    READ V
    MAP VPTE, B | 0x107
    mov rax, cr4
    btc eax, 7
    mov cr4, rax
    READ V
    ENDCASE
    CASE 'CR0.WP'
    MAP VPTE, A | 1
    invlpg [V]
    mov rax, cr0
    btr eax, 16
    mov cr0, rax
    mov dword [V], 0xaaa1
    READ V
    mov rax, cr0
    bts eax, 16
    mov cr0, rax
    ENDCASE
    TRY 'and with WP again'
    mov dword [V], 0xaaa2
    DONE
    CASE 'INVLPG drops all of a 2 MiB page'
    mov dword [0x401000], 0x4001
    mov dword [0x405000], 0x4005
    mov dword [0x201000 + 0x5000], 0x2005
    mov qword [PD + 16], 0x400087
    READ 0x401000
    READ 0x405000
    mov qword [PD + 16], PT | 7         ; now PAGE0's table
    MAP PT + 8, PAGE0 + 0x6000 | 7
    MAP PT + 8 * 5, PAGE0 + 0x6000 | 7
    invlpg [0x403000]
    READ 0x405000
    READ 0x401000
    mov qword [PD + 16], 0x400087
    invlpg [0x401000]
    invlpg [0x405000]
    MAP PT + 8, PAGE0 + 0x1000 | 7
    MAP PT + 8 * 5, PAGE0 + 0x5000 | 7
    mov rax, cr3
    mov cr3, rax
    ENDCASE
    CASE 'INVLPG drops all of a 1 GiB page'
    mov qword [PDPT + 8], 0x87          ; 0x40000000: physical 0
    mov dword [0x300000], 0x3000
    READ 0x40300000
    READ 0x40001000 + A - 0x1000
    mov qword [PDPT + 8], PDB | 7
    mov dword [PTB + 8 * 1], B | 7
    invlpg [0x7ffff000]
    READ 0x40001000 + PAGE0
    ENDCASE
    CASE 'accessed and dirty'
    MAP VPTE, A | 7
    invlpg [V]
    BITS_OF VPTE
    mov eax, [V]
    BITS_OF VPTE
    mov [V], eax
    BITS_OF VPTE
    MAP VPTE, A | 7
    invlpg [V]
    mov [V], eax
    BITS_OF VPTE
    BITS_OF PT + 8 * 17
    ENDCASE
    CASE 'code at a remapped address'
    mov dword [A], 0xc30ab0             ; mov al, 10; ret
    mov dword [B], 0xc30bb0
    MAP VPTE, A | 7
    invlpg [V]
    mov edi, V
    call rdi
    movzx ebx, al
    PUTS 64, ' '
    PUTHEX 64, ebx, 2
    MAP VPTE, B | 7
    invlpg [V]
    mov edi, V
    call rdi
    movzx ebx, al
    PUTS 64, ' '
    PUTHEX 64, ebx, 2
    mov dword [A], 0xaaaa
    mov dword [B], 0xbbbb
    ENDCASE

    ; Process-context identifiers.
    mov rax, cr4
    bts rax, 17
    mov cr4, rax
    MAP VPTE, A | 7
    CASE 'two PCIDs'
    CR3 PML4, 1
    READ V
    CR3 PML4B, 2
    READ V
    CR3_KEEP PML4, 1
    READ V
    CR3_KEEP PML4B, 2
    READ V
    ENDCASE
    CASE 'MOV CR3 flushes its PCID'
    CR3_KEEP PML4, 1
    MAP VPTE, B | 7
    CR3 PML4, 1
    READ V
    MAP VPTE, A | 7
    CR3_KEEP PML4B, 2
    CR3 PML4, 1
    READ V
    ENDCASE
    CASE 'INVPCID of an address of another PCID'
    READ V
    CR3_KEEP PML4B, 2
    MAP VPTE, B | 7
    mov eax, 0
    invpcid rax, [address1]
    CR3_KEEP PML4, 1
    READ V
    ENDCASE
    CASE 'INVPCID of another PCID'
    CR3_KEEP PML4B, 2
    MAP VPTE, A | 7
    mov eax, 1
    invpcid rax, [address1]
    CR3_KEEP PML4, 1
    READ V
    ENDCASE
    CASE 'INVPCID of the current PCID'
    MAP VPTE, B | 7
    mov eax, 1
    invpcid rax, [address1]
    READ V
    ENDCASE
    CASE 'INVPCID of everything, and of everything but global'
    MAP VPTE, A | 7
    mov eax, 2
    invpcid rax, [address1]
    READ V
    MAP VPTE, B | 7
    mov eax, 3
    invpcid rax, [address1]
    READ V
    ENDCASE
    CASE 'INVLPG and the current PCID'
    MAP VPTE, A | 7
    invlpg [V]
    READ V
    ENDCASE
    CASE 'many address spaces'
    mov ebp, 3000
.many:
    mov eax, PML4
    mov edx, ebp
    and edx, 0xfff
    or eax, edx
    mov cr3, rax
    mov ebx, [V]
    cmp ebx, 0xaaaa
    jne .bad
    mov eax, PML4B + 2
    mov cr3, rax
    mov ebx, [V]
    cmp ebx, 0xbbbb
    jne .bad
    dec ebp
    jnz .many
.bad:
    PUTS 64, ' '
    PUTHEX 64, ebp, 4
    ENDCASE
    CASE 'code of two PCIDs'
    CR3 PML4, 1
    mov dword [A], 0xc30ab0
    mov dword [B], 0xc30bb0
    mov ebp, 3
.loop:
    CR3_KEEP PML4, 1
    mov edi, V
    call rdi
    mov dl, al
    CR3_KEEP PML4B, 2
    call rdi
    mov dh, al
    movzx ebx, dx
    PUTS 64, ' '
    PUTHEX 64, ebx, 4
    dec ebp
    jnz .loop
    ENDCASE
    ; The upper half: both address spaces reach V there too.
%define UPPER 0xffff800000000000
    mov dword [PML4 + 256 * 8], PDPT | 7
    mov dword [PML4B + 256 * 8], PDPTB | 7
%macro CALL_BOTH 0
    CR3_KEEP PML4, 1
    mov rdi, UPPER + V
    call rdi
    mov dl, al
    CR3_KEEP PML4B, 2
    call rdi
    mov dh, al
    movzx ebx, dx
    PUTS 64, ' '
    PUTHEX 64, ebx, 4
%endmacro
    CASE 'code in the upper half that is not global'
    CALL_BOTH
    CALL_BOTH
    CALL_BOTH
    ENDCASE
    CASE 'global code in the upper half, remapped'
    MAP VPTE, A | 0x107
    MAP PTB + 8 * 16, A | 0x107
    mov rax, cr4
    bts eax, 7
    mov cr4, rax
    mov rdi, UPPER + V
    invlpg [rdi]
    CALL_BOTH
    CALL_BOTH
    MAP VPTE, B | 0x107
    MAP PTB + 8 * 16, B | 0x107
    mov rdi, UPPER + V
    invlpg [rdi]
    CALL_BOTH
    MAP VPTE, A | 0x107
    MAP PTB + 8 * 16, A | 0x107
    mov rax, cr4
    btr eax, 7
    mov cr4, rax
    CALL_BOTH
    ENDCASE
    CASE 'code in the upper half that is no longer global'
    MAP VPTE, A | 7
    MAP PTB + 8 * 16, B | 7
    mov rax, cr4
    bts eax, 7
    mov cr4, rax
    CALL_BOTH
    CALL_BOTH
    ENDCASE
    CR3 PML4, 1
    TRY 'INVPCID of type 4'
    mov eax, 4
    invpcid rax, [address1]
    DONE
    TRY 'INVPCID of a PCID beyond 12 bits'
    mov eax, 1
    invpcid rax, [bad_pcid]
    DONE
    TRY 'CR4.PCIDE set with a PCID in CR3'
    mov rax, cr4
    btr rax, 17
    mov cr4, rax
    mov eax, PML4 + 8
    mov cr3, rax
    mov rax, cr4
    bts rax, 17
    mov cr4, rax
    DONE
    FINISH

align 16
address1: dq 1, V
bad_pcid: dq 0x1000, V
