/* Given to the compiler before each source of the library: what keeps an interrupt's push out. */
#ifndef LSEMVAE_LOCK_H
#define LSEMVAE_LOCK_H

#include <zephyr/irq.h>

/* Both stand in one block, once each. */
#define LSEMVAE_LOCK() const unsigned int lsemvae_key = irq_lock()
#define LSEMVAE_UNLOCK() irq_unlock(lsemvae_key)

#endif
