/* A model as part of the program, read where it lies: flash that is mapped. Built with -DMODEL="\"tiny.pbert\"". */
    .section .rodata.model, "a"
    .balign 64
    .global model_start
    .global model_end
model_start:
    .incbin MODEL
model_end:
    .byte 0
    .section .note.GNU-stack, "", %progbits
