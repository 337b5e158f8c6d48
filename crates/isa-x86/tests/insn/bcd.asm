; Decimal adjustment, by the examples of the manual and its edges. Kept in bytes of memory: result, then flags by LAHF.
; bits 32
; mem 0x5000 = 14 10 79 00 05 05 34 00
; mem 0x5010 = 92 99 10 39
; rax = 0x35
; rbx = 0x0206
; rcx = 0x0000ff04
; flags = !Z !S
mov al, 0x79
mov bl, 0x35
add al, bl
daa                     ; AE -> 14, C
jnc fail
mov [0x5000], al
mov ax, 0x0009
add al, 1
daa                     ; 0a -> 10, A
mov [0x5001], al
mov al, 0x79
mov ah, 0
sahf
daa                     ; nothing to adjust
mov [0x5002], al
mov al, 0x35
sub al, 0x47
das                     ; ee -> 88, C
jnc fail
cmp al, 0x88
jne fail
mov al, 0x92
mov ah, 0
sahf
das
mov [0x5010], al
mov al, 0x99
das
mov [0x5011], al
mov al, 0x0a
daa
mov [0x5012], al
mov al, 0x9f
mov ah, 0
sahf
das                     ; both digits: 39
mov [0x5013], al
mov ax, 0x0108
add al, 8               ; 0x10, A
aaa                     ; AX = 0x0206
jnc fail
mov ebx, eax
mov ax, 0x0003
sub al, 9               ; fa
aas                     ; fa - 6 = f4 -> 4, AH = ff
jnc fail
mov ecx, eax
mov al, 55
aam
cmp ax, 0x0505
jne fail
mov [0x5004], ax
mov ax, 0x0502
aad
mov [0x5006], al
movzx eax, al
mov ax, 0x0304
aad 16                  ; 34
aam 16                  ; 0304
mov bh, ah
mov bl, al
cmp bx, 0x0304
jne fail
mov ebx, 0x0206
or eax, eax
mov eax, 0x35
jmp done
fail: ud2
done:
