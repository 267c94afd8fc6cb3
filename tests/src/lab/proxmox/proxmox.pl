#!/usr/bin/perl
# Plays what Proxmox VE does when it runs a task, down to its files, in its language.
#
#   proxmox.pl vzdump [--job ID] [--storage ID] [--id VMID] [--cli 1] GUEST...
#   proxmox.pl vzdump [--job ID] [--id VMID] [--cli 1] --play TEXT
#   proxmox.pl KIND [--id VMID] [--user USER] [LINE...]
#   proxmox.pl --tick
#   proxmox.pl --dry FORM TEXT
#   proxmox.pl --describe LOG
#
# GUEST is `vmid:type:name:how`; how is `ok`, `warn=TEXT`, `fail=TEXT`, `die` (the worker is
# killed), or `hold=PATH`, which waits until that file is there and then is `ok`. TEXT describes a
# run in full (`Description`). LINE is printed as it is; one that begins with `fail=` ends the task, one
# with `run=` is a command that the task runs.
# Prints the task's name at once, and returns when the task is over. `--tick` is the scheduler's
# minute. `--dry` runs nothing, and prints one form of the log: task, guest, mail or terminal.
# `--describe` tells the run that left a log as such a TEXT.
use strict;
use warnings;
use File::Basename qw(dirname);
use lib dirname(__FILE__) . '/proxmox';
use lib dirname(__FILE__);
use Description;
use Frame;
use Job;
use Log;

my $kind = shift @ARGV;
if ($kind eq '--tick') {
    Frame::tick();
} elsif ($kind eq '--describe') {
    require Describe;
    open(my $file, '<', $ARGV[0]) or die "$ARGV[0]: $!\n";
    print Describe::describe(do { local $/; <$file> });
} elsif ($kind eq '--dry') {
    my ($form, $text) = @ARGV;
    my $job = Description::parse($text);
    my $line = Frame::verdict(sub { Job::run($job, Log->new($job, $form)) });
    # A terminal is not shown a success.
    my $is_shown = $form eq 'task' || $form eq 'terminal' && $line ne "TASK OK\n";
    if ($is_shown) {
        print $line;
        print STDERR "own\n" if $ENV{PLAYED_ACCOUNT};
    }
} else {
    my %option = (user => 'root@pam', storage => 'local');
    while (@ARGV && $ARGV[0] =~ /^--(\w+)$/) {
        shift @ARGV;
        $option{$1} = shift @ARGV;
    }
    my $job;
    if ($kind eq 'vzdump') {
        $job = defined $option{play} ? Description::parse($option{play})
            : Description::of_arguments(\%option, @ARGV);
        my @guests = @{ $job->{guests} };
        $option{id} //= $guests[0]{vmid} if @guests == 1;
    }
    Frame::run(
        kind => $kind,
        id => $option{id} // '',
        user => $option{user},
        job => $option{job},
        cli => $option{cli},
        at_start => sub { print "$_[0]\n"; STDOUT->flush },
        work => sub { $job ? Job::run($job, Log->new($job, ''), $_[0]) : print_lines() },
    );
}

sub print_lines {
    for my $line (@ARGV) {
        die "$1\n" if $line =~ /^fail=(.*)$/s;
        if ($line =~ /^run=(.*)$/s) {
            system('/bin/sh', '-c', $1) == 0 or die "command '$1' failed: exit code $?\n";
            next;
        }
        print "$line\n";
    }
    return 0;
}
