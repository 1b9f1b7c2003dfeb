// SPDX-License-Identifier: GPL-2.0
// A trigger for Industrial I/O that fires `rate_hz` times a second. Debian's kernel has none that needs no interrupt of a device.
#include <linux/hrtimer.h>
#include <linux/iio/iio.h>
#include <linux/iio/trigger.h>
#include <linux/module.h>

static unsigned int rate_hz = 50;
module_param(rate_hz, uint, 0444);

static struct iio_trigger *trigger;
static struct hrtimer timer;
static ktime_t period;

static enum hrtimer_restart tick(struct hrtimer *fired)
{
	hrtimer_forward_now(fired, period);
	iio_trigger_poll(trigger);
	return HRTIMER_RESTART;
}

static int set_state(struct iio_trigger *of, bool is_on)
{
	if (is_on)
		hrtimer_start(&timer, period, HRTIMER_MODE_REL_HARD);
	else
		hrtimer_cancel(&timer);
	return 0;
}

static const struct iio_trigger_ops ops = { .set_trigger_state = set_state };

static int __init ticker_init(void)
{
	int failed;

	if (rate_hz == 0 || rate_hz > 1000)
		return -EINVAL;
	period = ns_to_ktime(NSEC_PER_SEC / rate_hz);
	hrtimer_init(&timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
	timer.function = tick;
	trigger = iio_trigger_alloc(NULL, "ticker");
	if (!trigger)
		return -ENOMEM;
	trigger->ops = &ops;
	failed = iio_trigger_register(trigger);
	if (failed)
		iio_trigger_free(trigger);
	return failed;
}

static void __exit ticker_exit(void)
{
	iio_trigger_unregister(trigger);
	hrtimer_cancel(&timer);
	iio_trigger_free(trigger);
}

module_init(ticker_init);
module_exit(ticker_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A trigger for Industrial I/O that fires at a rate");
