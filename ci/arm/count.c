/* A plugin for qemu-user that counts the instructions a program executes on one thread.
 *
 *     cc -O2 -fPIC -shared -o count.so count.c
 *     qemu-aarch64 -plugin ./count.so -d plugin program
 *     qemu-aarch64 -plugin ./count.so,blocks=on -d plugin program    (per block: address, instructions, runs, symbol)
 *
 * Declares the functions it needs by itself, after the interface of QEMU 4.2 to 8.1 (version 1, plugins/api.c), so
 * that no header is needed; Debian 12 has 7.2 and packages none. Counts are added in line without locks: exact for a
 * single thread. */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*tb_callback)(uint64_t id, struct qemu_plugin_tb *tb);
typedef void (*exit_callback)(uint64_t id, void *data);
enum { INLINE_ADD_U64 = 0 };
extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, tb_callback cb);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
extern const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *insn);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, int op, void *counter, uint64_t add);
extern void qemu_plugin_register_atexit_cb(uint64_t id, exit_callback cb, void *data);
extern void qemu_plugin_outs(const char *text);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

struct block {
    uint64_t address, instructions, runs;
    const char *symbol;
    struct block *next;
};

static uint64_t executed;
static int by_block;
static struct block *blocks;

static void translated(uint64_t id, struct qemu_plugin_tb *tb) {
    size_t n = qemu_plugin_tb_n_insns(tb);
    struct block *block;
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD_U64, &executed, n);
    if (!by_block || !(block = calloc(1, sizeof *block)))
        return;
    block->address = qemu_plugin_tb_vaddr(tb);
    block->instructions = n;
    block->symbol = qemu_plugin_insn_symbol(qemu_plugin_tb_get_insn(tb, 0));
    block->next = blocks;
    blocks = block;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD_U64, &block->runs, 1);
}

static void finished(uint64_t id, void *data) {
    char text[512];
    (void)id, (void)data;
    for (struct block *b = blocks; b; b = b->next) {
        snprintf(text, sizeof text, "block %" PRIx64 " %" PRIu64 " %" PRIu64 " %s\n", b->address, b->instructions,
                 b->runs, b->symbol ? b->symbol : "?");
        qemu_plugin_outs(text);
    }
    snprintf(text, sizeof text, "instructions %" PRIu64 "\n", executed);
    qemu_plugin_outs(text);
}

__attribute__((visibility("default"))) int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv) {
    (void)info, (void)argv;
    by_block = argc > 0;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, finished, NULL);
    return 0;
}
