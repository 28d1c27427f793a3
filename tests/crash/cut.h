/*
 * What a power cut, or the death of all processes, leaves of the events in a log, after each of them.
 *
 * After a power cut each sector of 512 bytes is independently what the last completed sync that covered it found, or
 * anything it held since. A sector that was stored through a map is also any mix of two of these, word by word. Behind
 * the last durable size is nothing, zeros, chance, or what an earlier life of the disk left. The live region means
 * nothing after a cut: it is what it was, or zeros, or chance, or a mix. After the death of all processes everything
 * that was visible is there, and no lock.
 */
#ifndef CUT_H
#define CUT_H

#include "os_sim.h"

#define CUT_SECTOR_BYTES 512u
#define CUT_SECTORS_MAX ((size_t)(SIM_FILE_BYTES_MAX / CUT_SECTOR_BYTES))
#define CUT_VERSIONS_MAX 8u
#define CUT_DIRTY_MAX 1024u /* sectors of one file that are not durable */
#define CUT_SIZES_MAX 8u

struct cut_sector {
    uint32_t number;
    uint32_t count;             /* versions since the last sync; the last is the visible one */
    bool is_mapped;
    bool is_stuck;              /* a sync failed, and it was not written since: no later sync takes it along */
    unsigned process;           /* that wrote it last */
    uint8_t versions[CUT_VERSIONS_MAX][CUT_SECTOR_BYTES];
};

struct cut_file {
    uint8_t *durable;           /* SIM_FILE_BYTES_MAX; of the live region what is visible */
    bool touched[SIM_PAGES_MAX], changed[SIM_PAGES_MAX]; /* durable pages: ever; since the last image was loaded */
    uint64_t sizes[CUT_SIZES_MAX]; /* the first is durable, the last visible */
    unsigned size_count;
    struct cut_sector *dirty;   /* CUT_DIRTY_MAX */
    size_t dirty_count;
    int16_t *places;            /* by sector: of its entry in dirty; -1: none */
};

struct cut {
    const struct sim_log *log;
    bool is_own_only;           /* the sync of a file covers only what its own process wrote: errors of the rest are
                                   told to others, or to nobody */
    size_t at;                  /* events that have happened */
    struct cut_file files[SIM_FILES_MAX];
    int name_durable, name;     /* file that has the name on the disk, and to be seen; -1: none */
};

/* One image: which version each sector has. */
struct cut_choice {
    bool is_death;              /* of processes: everything visible is there */
    uint64_t chance;            /* for what is not enumerated */
    bool has_old_name;          /* while the name is not durable */
    unsigned size;
    uint16_t version[CUT_DIRTY_MAX]; /* 0: durable, k: the k-th since; above all: a mix */
};

void cut_begin(struct cut *cut, const struct sim_log *log); /* from what all files are now, all of it durable */
void cut_done(struct cut *cut);
/* Let the next event happen. */
void cut_step(struct cut *cut);
/* How many images there are, UINT64_MAX if more than 2^12; what chance decides is not counted. */
uint64_t cut_image_count(const struct cut *cut);
/* The @number-th of them where @is_counted, else one by chance; @number is its seed. */
void cut_choose(const struct cut *cut, uint64_t seed, uint64_t number, bool is_counted, struct cut_choice *out);
/* Make the files of the simulation that image. No handle may be open. */
void cut_load(struct cut *cut, const struct cut_choice *choice);

#endif
