/* The context's content, open only so that a caller can make room for it. Nothing here is for the caller to touch. */
#ifndef LSEMVAE_CONTEXT_H
#define LSEMVAE_CONTEXT_H

/* Half seconds of raw contact measures that fit into a window, and those kept while the filters lag behind. */
#define LSEMVAE_BLOCKS (LSEMVAE_WINDOW * 2 / LSEMVAE_FS_HZ)
#define LSEMVAE_BLOCKS_KEPT (LSEMVAE_BLOCKS + LSEMVAE_BAND_TAPS / LSEMVAE_FS_HZ + 2)

/* Raw measures of one lead in one half second. */
typedef struct {
    int32_t mean_nv, low_nv, high_nv;
    int32_t mains_nv;         /* amplitude at the mains frequency; 0 also where it is not looked for */
    uint16_t samples;         /* length of the block, at the recorder's rate */
    uint16_t held;            /* most samples on end that equal the one before them, counted into the blocks before */
    uint16_t on_low, on_high; /* samples on low_nv, high_nv in runs long enough to be a rail; each has all of a run
                                 that reaches that length in this block; both count if low_nv == high_nv */
} lsemvae_block;

/* The block in the making. */
typedef struct {
    int64_t sum_nv, cos_sum, sin_sum;
    int32_t low_nv, high_nv, first_nv, last_nv;
    uint16_t unchanged; /* samples up to the newest that equal the one before them */
    uint16_t held, on_low, on_high;
} lsemvae_making;

struct lsemvae_context {
    /* Set by lsemvae_init and kept by lsemvae_reset. */
    uint32_t begun; /* a pattern once init has succeeded */
    lsemvae_config config;
    const struct lsemvae_image *image;
    uint32_t rate;       /* index into the image's rates */
    uint32_t max_bridge; /* longest gap that is bridged, in samples */
    uint32_t block_samples, rail_samples;
    uint32_t hann_step, mains_step; /* 2^32 is a full turn; mains_step is 0 where mains is not looked for */
    /* Of the person, from here to the end. */
    lsemvae_person person;
    /* stream */
    uint32_t received; /* 0 until the first sample of this segment, then 1 */
    uint32_t gap;      /* samples missing since the newest one */
    int32_t last_nv[2];
    int32_t raw_nv[2][LSEMVAE_RESAMPLE_TAPS_MAX];      /* ring, as long as the rate's taps; oldest at raw_at */
    uint32_t raw_at;
    uint32_t until_output;                             /* samples still missing to the next model-rate sample */
    uint32_t phase;                                    /* of that sample */
    int32_t resampled_nv[2][LSEMVAE_BAND_TAPS];        /* ring, oldest at resampled_at */
    uint32_t resampled_at, resampled_count;
    int16_t window[2][LSEMVAE_WINDOW];                 /* ring of filtered leads I and II, half microvolts */
    uint32_t window_at;
    uint32_t filtered_count;                           /* model-rate samples filtered in this segment */
    uint32_t clipped_at;                               /* filtered_count at the newest that left int16, with it; 0 */
    /* contact */
    lsemvae_block blocks[2][LSEMVAE_BLOCKS_KEPT];      /* ring, the next at block_at */
    lsemvae_making making[2];
    int64_t weight_sum, weight_cos_sum, weight_sin_sum; /* of the mains tone's weights in the block in the making */
    uint32_t block_at, block_fill, blocks_complete;
};

#endif
