; LAHF and SAHF leave O; bit 1 of AH is always set.
; rax = 0x4680
; rbx = 0xd7
; flags = C P A Z S O
mov al, 0x7f
mov ah, 0xff
add al, 1               ; O
sahf
lahf
mov bl, ah
mov ah, 0               ; NC NZ NP NA NS
sahf
lahf
mov cl, ah
mov ah, 0x46            ; Z, P
sahf
jnz fail
jnp fail
jc fail
clc
cmc
jnc fail
mov ah, 0xd5
sahf
mov ah, 0x46
jmp done
fail: ud2
done:
