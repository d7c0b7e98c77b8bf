/* SPDX-License-Identifier: MIT */
/*
 * RCU's grace period as smp/rcu.c has it: each CPU's word holds the sequence of grace periods as
 * its reader began, and a writer raises the sequence and waits for every word that is older.
 *
 * Checked: no reader holds an object that was freed (R32); the writer does not wait for ever.
 *
 * model: SECTIONS=2 ROUNDS=2: NO_BARRIER NO_RAISE RAISE_FIRST RENEW ONE_CPU
 *
 *	NO_BARRIER	a reader loads its pointer before its word can be seen
 *	NO_RAISE	the sequence stays, so that no word is older
 *	RAISE_FIRST	the sequence is raised before the object is taken out of sight
 *	RENEW		a section inside another renews the word
 *	ONE_CPU		the writer looks at one CPU only
 */
#define OBJECTS (ROUNDS + 1)

byte since[2], sequence = 1;
byte published;
bool freed[OBJECTS];

proctype reader(byte me)
{
	byte object, sample, sections;

	do
	:: sections < SECTIONS ->
		sample = sequence;
#ifdef NO_BARRIER
		object = published;
		since[me] = sample;
#else
		since[me] = sample;
		object = published;
#endif
#ifdef RENEW
		sample = sequence;
		since[me] = sample;
#endif
		/* freed[] only ever becomes true, so one look at the end is as good as many. */
		assert(!freed[object]);
		since[me] = 0;
		sections++
	:: else -> break
	od
}

proctype writer()
{
	byte old, rounds, mine;

	do
	:: rounds < ROUNDS ->
#ifdef RAISE_FIRST
		sequence++;
#endif
		old = published;
		published = old + 1;
#if !defined(RAISE_FIRST) && !defined(NO_RAISE)
		sequence++;
#endif
		mine = sequence;
		since[0] == 0 || since[0] >= mine;
#ifndef ONE_CPU
		since[1] == 0 || since[1] >= mine;
#endif
		freed[old] = true;
		rounds++
	:: else -> break
	od
}

init {
	atomic {
		run reader(0);
		run reader(1);
		run writer()
	}
}
