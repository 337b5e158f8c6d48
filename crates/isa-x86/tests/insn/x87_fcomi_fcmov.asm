; FCOMI sets ZF, PF, CF; FCMOVcc moves by them. An unordered comparison sets all three.
; rax = 0x03
; mem 0x5000 = 00 00 00 00 00 00 00 80 ff 3f
; flags = Z P C !S !O !A
fninit
mov eax, 0
fldz
fld1
fcomi st1               ; 1 > 0
jbe fail
or eax, 1
fcmovnbe st0, st1       ; 0
fcomip st1              ; equal; pops
jne fail
or eax, 2
fld1
fst st3
fcmove st0, st3
fstp tword [0x5000]
fld1
fldz
fldz
fdivp st1, st0          ; NaN
fucomip st1
jmp done
fail: ud2
done:
